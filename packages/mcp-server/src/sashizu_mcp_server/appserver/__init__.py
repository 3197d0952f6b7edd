"""The older JSON-RPC methods of conversations, for clients that know no other."""
