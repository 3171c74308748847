"""The one door to MLflow: events, their delivery, the store, the UI. Nothing here imports MLflow before it is used."""
