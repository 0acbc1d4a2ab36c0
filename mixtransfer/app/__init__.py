"""`mixtransfer app`: a local web page on which images are dropped and one or two models answer."""
