"""How a proxy is made of an original's bytes. No framework: it runs in any Python process."""
