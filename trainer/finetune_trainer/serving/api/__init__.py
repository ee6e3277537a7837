"""OpenAI's requests and responses: what is accepted, how it is answered, and the errors."""
