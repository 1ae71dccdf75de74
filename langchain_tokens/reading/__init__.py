"""How is usage read? The parts behind `shapes`."""
