"""What plugin authors test with: fakes and contract suites (`pip install sashizu-core[testing]`)."""
