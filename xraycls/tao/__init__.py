"""What owners of TLT/TAO projects bring: text specs, mounts, the dataset converter, and the files that TAO leaves."""
