"""Where the published package has `AutoInit`; scripts written for it run unchanged."""
