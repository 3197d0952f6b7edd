"""HTTP/1.1 to one server: connections that are kept, proxies, certificates."""
