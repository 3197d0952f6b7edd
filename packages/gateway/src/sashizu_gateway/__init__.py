"""A local endpoint that bounds, judges and records what agents of other vendors ask of models."""
