"""Text-guided editors: a picture and a prompt in, an edited picture out."""
