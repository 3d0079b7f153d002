"""One module per source of images or features; each module's name is the name under which it is registered."""
