"""Where else can it be used? One module for each framework, imported only by whoever uses that."""
