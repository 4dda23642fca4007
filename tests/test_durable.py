from pathlib import Path

from casparian.durable import network_share


def test_a_folder_on_a_network_share_is_known(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda1 / ext4 rw 0 0\n"
        "nas:/cases /mnt/cases nfs4 rw 0 0\n"
        "//nas/more /mnt/with\\040space cifs rw 0 0\n"
        "/dev/sdb1 /mnt/cases/local ext4 rw 0 0\n"
    )
    for folder, kind in (
        ("/home/me/.casparian_flow", ""),
        ("/mnt/cases/me/not yet there", "nfs4"),
        ("/mnt/with space/me", "cifs"),
        ("/mnt/cases/local/me", ""),
        ("/mnt/casesbeside", ""),
    ):
        assert network_share(Path(folder), mounts) == kind, folder
    assert network_share(Path("/home"), tmp_path / "none") == ""
