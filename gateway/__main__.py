"""`python -m gateway`, the same as `video-gateway`."""

from gateway.cli import program

if __name__ == "__main__":
    program()
