"""What an exchange's rows say: files, paths, plans, templates, and what a frame means by them."""
