"""Data sets to train and to measure on, in their owners' annotation files: one small reader each.

A reader takes the folder of a data set and the name of a split. It gives videos with captions (captioned sets) or with a
class (labelled sets); paths are relative to the folder. Media that are missing are no error of the annotations: see
clips.missing_media.
"""
