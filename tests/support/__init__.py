"""What tests of several rooms share: real servers, started and ended by their own process id."""
