"""What plugin authors test with: fakes and contract suites (extra `testing`)."""
