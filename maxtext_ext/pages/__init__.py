"""What the HTML pages share: look, formats of numbers, pictures."""
