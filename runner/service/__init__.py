"""The loop, one execution, replay: wires the parts together and decides nothing itself."""
