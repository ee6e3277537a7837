"""How the trainer talks to the server: HTTP, events, downloads, uploads and commands, and the reasons why an attempt fails."""
