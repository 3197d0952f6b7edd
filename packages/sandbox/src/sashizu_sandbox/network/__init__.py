"""Where agents may connect to: URLs, addresses, the tool `fetch` and the proxy of sandboxes."""
