"""The version of this release; everything that names a version reads it here or is tested against it."""

NAME = "acl-auth-service"
VERSION = "0.2.0"
ADMIN_REALM = f"{NAME} admin"
