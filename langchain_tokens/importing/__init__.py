"""What do files of others, and our own, say of calls? Rows, told by their columns, made calls that are stored once."""
