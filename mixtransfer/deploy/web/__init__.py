"""`export --format web`: a folder for any static file server, whose page runs the model in the browser."""
