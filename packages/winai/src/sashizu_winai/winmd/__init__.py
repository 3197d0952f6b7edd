"""What the metadata files of Windows offer, read without Windows."""
