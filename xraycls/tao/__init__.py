"""What owners of TLT/TAO projects bring: their text specs, their mounts, their converter."""
