"""What a model is asked and how its answer is read: words in, words out. Knows no tensors."""
