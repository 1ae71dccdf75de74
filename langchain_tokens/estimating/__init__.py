"""How are tokens estimated? The parts behind `estimate`."""
