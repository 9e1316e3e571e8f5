"""Many pictures: what is left to do, doing it, and remembering what is done."""
