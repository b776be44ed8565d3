"""HTTP to servers on this machine: what TLS would need is read once, not for each of thousands of clients."""

import httpx

TLS = httpx.create_ssl_context(trust_env=False)
