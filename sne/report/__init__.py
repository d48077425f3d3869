"""Reports for people, as HTML pages of one file: what the weights of networks say."""

from sne.report.page import page as page
