"""What a training takes: memory and time, before it and when there is too little."""
