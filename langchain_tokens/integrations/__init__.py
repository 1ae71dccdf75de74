"""How does it fit into other frameworks? One module for each, imported by who uses it, with an extra that it names."""
