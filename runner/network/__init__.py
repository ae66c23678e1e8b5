"""How a request travels: through which proxy, with what TLS, and what went wrong where it did not arrive."""
