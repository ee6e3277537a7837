"""How the trainer talks to the server: HTTP, events, downloads, uploads, commands, and why an attempt fails."""
