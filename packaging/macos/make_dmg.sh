#!/bin/sh
# Makes dist/casparian-flow-VERSION.dmg of the bundle that packaging/build.py has frozen. Runs on macOS.
#
# To sign and notarise, set
#   CODESIGN_IDENTITY  e.g. "Developer ID Application: NAME (TEAM)"
#   NOTARY_PROFILE     of `xcrun notarytool store-credentials`
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
app="$root/build/frozen/Casparian Flow.app"
version=$(/usr/libexec/PlistBuddy -c 'Print CFBundleShortVersionString' "$app/Contents/Info.plist")
image="$root/dist/casparian-flow-$version.dmg"
staged=$(mktemp -d)
trap 'rm -rf "$staged"' EXIT

# The terms of all that is passed on came after the bundle was made.
cp -R "$root/build/frozen/casparian-flow/_internal/casparian/resources/licences" \
    "$app/Contents/Resources/casparian/resources/"

if [ -n "${CODESIGN_IDENTITY:-}" ]; then
    codesign --force --deep --options runtime --timestamp --sign "$CODESIGN_IDENTITY" "$app"
    codesign --verify --deep --strict "$app"
else
    echo "Not signed but for this machine: CODESIGN_IDENTITY is not set." >&2
    # Without any signature that fits, a Mac calls what was changed damaged.
    codesign --force --deep --sign - "$app"
fi

cp -R "$app" "$staged/"
cp "$root/LICENSE" "$staged/LICENSE.txt"
ln -s /Applications "$staged/Applications"
mkdir -p "$root/dist"
hdiutil create -quiet -ov -fs HFS+ -format UDZO -volname "Casparian Flow" -srcfolder "$staged" "$image"

if [ -n "${CODESIGN_IDENTITY:-}" ] && [ -n "${NOTARY_PROFILE:-}" ]; then
    codesign --timestamp --sign "$CODESIGN_IDENTITY" "$image"
    xcrun notarytool submit "$image" --keychain-profile "$NOTARY_PROFILE" --wait
    xcrun stapler staple "$image"
else
    echo "Not notarised: NOTARY_PROFILE is not set." >&2
fi
(cd "$root/dist" && shasum -a 256 "$(basename "$image")" >>SHA256SUMS)
ls -l "$image"
