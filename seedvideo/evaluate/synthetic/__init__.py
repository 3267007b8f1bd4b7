"""The synthetic benchmark: videos made from nothing, about which everything is known."""
