"""Start the application without the command line."""

from app import app

if __name__ == "__main__":
    app.run()
