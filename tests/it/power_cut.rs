//! Power cuts and failing disks: whatever prefix of the writes reached the disk, nothing acknowledged is lost.
