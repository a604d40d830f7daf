"""What installs and uninstalls: init, the demo, uninstall."""
