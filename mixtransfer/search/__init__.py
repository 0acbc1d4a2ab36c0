"""Architecture search: a supernet whose parts share their weights, and the networks in it that nothing else beats."""
