"""How is it shown, and what does it mean? Reports over a store, a handler or a run; one module for each."""
