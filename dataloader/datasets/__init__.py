"""One file a data set: its own folder layout -> a `dataloader.listing.Listing`; `catalogue` knows them by name."""
