"""Who draws the pictures of the documentation? `python -m docs.pictures.draw`, from applications that it runs."""
