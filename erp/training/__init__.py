"""LEARN: any router, trained and tested by one LightningModule on one LightningDataModule."""
