"""Datasets made from a job: Parquet tables, webdataset shards, folders for the Hugging Face Hub.

Separate from `seedvideo.batch`, whose other exports need neither the videos nor several files.
"""
