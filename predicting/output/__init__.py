"""What predictions are written as: tables, meshes, pictures, films, a recording, and a page to look at them."""
