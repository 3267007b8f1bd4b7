"""Training recipe of the embedded model: photos in, checkpoint out. No other room imports it."""
