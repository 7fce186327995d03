"""The demonstration: a client that shows all five flows, over HTTP, on the sample pictures."""
