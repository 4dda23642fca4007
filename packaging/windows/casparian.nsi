; The installer for Windows: per user and without an administrator by default, for all with /ALLUSERS.
;
;   makensis -DVERSION=1.2.3 -DSOURCE=build\frozen\casparian-flow -DOUTPUT=dist\setup.exe casparian.nsi
;
; Options of what it makes: /S is silent, /ALLUSERS installs into Program Files, /D=FOLDER (last, unquoted)
; chooses another folder; what was installed elsewhere before is removed. The uninstaller keeps the user's
; data, which are those in the profile of who runs it; silent, it deletes them with /PURGE. It goes on in a
; copy of itself: for its exit code, start it as `uninstall.exe /S _?=FOLDER` (last, unquoted), which leaves
; uninstall.exe there.
; Exit codes: 0 done, 1 given up by the user, 2 refused or failed, with the reason in the window and in
; %TEMP%\casparian-setup.log (UTF-16).
;
; -DSIGN=COMMAND signs: it is called with the path of each file, of the uninstaller and of the installer, e.g.
;   -DSIGN="signtool sign /fd sha256 /tr %TSA% /td sha256"

Unicode true
!ifndef VERSION | SOURCE | OUTPUT
  !error "Give -DVERSION, -DSOURCE and -DOUTPUT; see the head of this file"
!endif
!define LICENCE "../../LICENSE"  ; makensis works in the folder of this file
!ifndef ICON
  !define ICON "../../build/art/casparian.ico"
!endif
!define NAME "Casparian Flow"
!define KEY "CasparianFlow"
!define UNINSTALL "Software\Microsoft\Windows\CurrentVersion\Uninstall\${KEY}"
!define PROGID "CasparianFlow.Evidence"
!define WINDOW "Casparian Flow.exe"
!define DATA "$PROFILE\.casparian_flow"

Name "${NAME}"
OutFile "${OUTPUT}"
Target amd64-unicode
RequestExecutionLevel user
ManifestDPIAware true
ManifestSupportedOS all
SetCompressor /SOLID lzma
AllowSkipFiles off  ; else a silent upgrade would leave out what it cannot write, and call that done
XPStyle on
BrandingText "${NAME} ${VERSION}"
InstallDir ""

VIProductVersion "${VERSION}.0"
VIAddVersionKey ProductName "${NAME}"
VIAddVersionKey ProductVersion "${VERSION}"
VIAddVersionKey FileVersion "${VERSION}"
VIAddVersionKey FileDescription "Installs ${NAME}"
VIAddVersionKey LegalCopyright "Apache License 2.0"

!ifdef SIGN
  !uninstfinalize '${SIGN} "%1"'
  !finalize '${SIGN} "%1"'
!endif

!include MUI2.nsh
!include FileFunc.nsh
!include LogicLib.nsh
!include x64.nsh

Var ForAll
Var Purge

!define MUI_ICON "${ICON}"
!define MUI_UNICON "${ICON}"
!define MUI_ABORTWARNING
!insertmacro MUI_PAGE_WELCOME
!insertmacro MUI_PAGE_LICENSE "${LICENCE}"
!insertmacro MUI_PAGE_DIRECTORY
!insertmacro MUI_PAGE_COMPONENTS
!insertmacro MUI_PAGE_INSTFILES
!define MUI_FINISHPAGE_RUN
!define MUI_FINISHPAGE_RUN_FUNCTION Start
!insertmacro MUI_PAGE_FINISH
!insertmacro MUI_UNPAGE_CONFIRM
!insertmacro MUI_UNPAGE_INSTFILES
!insertmacro MUI_LANGUAGE English

; Add $0 to the log.
!macro Log un
  Function ${un}Log
    FileOpen $1 "$TEMP\casparian-setup.log" a
    FileSeek $1 0 END
    FileWriteUTF16LE /BOM $1 "$0$\r$\n"
    FileClose $1
  FunctionEnd
!macroend
!insertmacro Log ""
!insertmacro Log "un."

; Say why it does not go on, also where nobody looks, and end with 2.
!macro Refuse un
  Function ${un}Refuse
    Exch $0
    Call ${un}Log
    MessageBox MB_ICONSTOP|MB_OK "$0" /SD IDOK
    SetErrorLevel 2
    Quit
  FunctionEnd
!macroend
!insertmacro Refuse ""
!insertmacro Refuse "un."

; A program that runs cannot be opened for writing.
!macro CheckClosed un
  Function ${un}CheckClosed
    again:
    ClearErrors
    ${If} ${FileExists} "$INSTDIR\${WINDOW}"
      FileOpen $0 "$INSTDIR\${WINDOW}" a
      FileClose $0
    ${EndIf}
    ${If} ${FileExists} "$INSTDIR\casparian.exe"
      FileOpen $0 "$INSTDIR\casparian.exe" a
      FileClose $0
    ${EndIf}
    ${If} ${Errors}
      MessageBox MB_ICONEXCLAMATION|MB_RETRYCANCEL "${NAME} is running. Close it, then try again." /SD IDCANCEL IDRETRY again
      Push "${NAME} is running from $INSTDIR, or you may not write there; it was not changed."
      Call ${un}Refuse
    ${EndIf}
  FunctionEnd
!macroend
!insertmacro CheckClosed ""
!insertmacro CheckClosed "un."

; $0 = 1 if this installer has made the folder, be it that it was interrupted.
!macro IsOurs un
  Function ${un}IsOurs
    StrCpy $0 0
    ReadRegStr $1 SHCTX "${UNINSTALL}" InstallLocation
    ${If} ${FileExists} "$INSTDIR\uninstall.exe"
      ${If} ${FileExists} "$INSTDIR\casparian.exe"
      ${OrIf} $1 == $INSTDIR
        StrCpy $0 1
      ${EndIf}
    ${EndIf}
  FunctionEnd
!macroend
!insertmacro IsOurs ""
!insertmacro IsOurs "un."

; What an older version left would be loaded by this one. Only a folder that is ours is emptied.
Function RemoveOlder
  ${If} ${FileExists} "$INSTDIR\_internal\*.*"
    Call IsOurs
    ${If} $0 = 0
      Push "$INSTDIR holds another program. Choose another folder."
      Call Refuse
    ${EndIf}
  ${EndIf}
  ReadRegStr $2 SHCTX "${UNINSTALL}" InstallLocation
  ${If} $2 != ""
  ${AndIf} $2 != $INSTDIR
  ${AndIf} ${FileExists} "$2\uninstall.exe"
    ExecWait '"$2\uninstall.exe" /S _?=$2' $0
    ${If} $0 <> 0
      Push "What is installed in $2 could not be removed; nothing was changed. Close it, then try again."
      Call Refuse
    ${EndIf}
    Delete "$2\uninstall.exe"
    RMDir "$2"
  ${EndIf}
  RMDir /r "$INSTDIR\_internal"
  ${If} ${FileExists} "$INSTDIR\_internal\*.*"
    Push "The older version's files in $INSTDIR\_internal are in use. Restart the computer, then install again."
    Call Refuse
  ${EndIf}
FunctionEnd

Function .onInstFailed
  StrCpy $0 "$INSTDIR could not be written in full: is the disk full, or may you not write there?"
  Call Log
FunctionEnd

; By way of the desktop, so that what an administrator has installed does not run with an administrator's rights.
Function Start
  Exec '"$WINDIR\explorer.exe" "$INSTDIR\${WINDOW}"'
FunctionEnd

Function .onInit
  ${IfNot} ${RunningX64}
    Push "${NAME} needs a 64-bit Windows."
    Call Refuse
  ${EndIf}
  StrCpy $ForAll 0
  ${GetParameters} $0
  ClearErrors
  ${GetOptions} $0 "/ALLUSERS" $1
  ${IfNot} ${Errors}
    StrCpy $ForAll 1
  ${EndIf}
  SetRegView 64
  ${If} $ForAll = 1
    UserInfo::GetAccountType
    Pop $0
    ${If} $0 != "Admin"
      Push "/ALLUSERS needs the rights of an administrator. Start it from an elevated prompt."
      Call Refuse
    ${EndIf}
    SetShellVarContext all
    ReadRegStr $1 HKLM "${UNINSTALL}" InstallLocation
    StrCpy $2 "$PROGRAMFILES64\${NAME}"
  ${Else}
    SetShellVarContext current
    ReadRegStr $1 HKCU "${UNINSTALL}" InstallLocation
    StrCpy $2 "$LOCALAPPDATA\Programs\${NAME}"
  ${EndIf}
  ; /D= goes before where it was installed last, and that before the usual place.
  ${If} $INSTDIR == ""
    StrCpy $INSTDIR $2
    ${If} $1 != ""
      StrCpy $INSTDIR $1
    ${EndIf}
  ${EndIf}
FunctionEnd

Section "${NAME}" SecProgram
  SectionIn RO
  Call CheckClosed
  Call RemoveOlder
  SetOutPath "$INSTDIR"
  ; First, so that an installation that is interrupted can be repeated and removed.
  WriteUninstaller "$INSTDIR\uninstall.exe"
  WriteRegStr SHCTX "${UNINSTALL}" InstallLocation "$INSTDIR"
  File /r "${SOURCE}\*"
  CreateDirectory "$SMPROGRAMS\${NAME}"
  CreateShortcut "$SMPROGRAMS\${NAME}\${NAME}.lnk" "$INSTDIR\${WINDOW}"
  CreateShortcut "$SMPROGRAMS\${NAME}\Uninstall ${NAME}.lnk" "$INSTDIR\uninstall.exe"

  ${GetSize} "$INSTDIR" "/S=0K" $0 $1 $2
  IntFmt $0 "0x%08X" $0
  WriteRegStr SHCTX "${UNINSTALL}" DisplayName "${NAME}"
  WriteRegStr SHCTX "${UNINSTALL}" DisplayVersion "${VERSION}"
  WriteRegStr SHCTX "${UNINSTALL}" DisplayIcon "$INSTDIR\${WINDOW}"
  WriteRegStr SHCTX "${UNINSTALL}" Publisher "${NAME}"
  WriteRegStr SHCTX "${UNINSTALL}" UninstallString '"$INSTDIR\uninstall.exe"'
  WriteRegStr SHCTX "${UNINSTALL}" QuietUninstallString '"$INSTDIR\uninstall.exe" /S'
  WriteRegDWORD SHCTX "${UNINSTALL}" EstimatedSize $0
  WriteRegDWORD SHCTX "${UNINSTALL}" NoModify 1
  WriteRegDWORD SHCTX "${UNINSTALL}" NoRepair 1
SectionEnd

Section "Offer it under $\"Open with$\"" SecOpen
  ; Offered beside whatever opens these files now; nothing is taken over.
  WriteRegStr SHCTX "Software\Classes\${PROGID}" "" "Evidence"
  WriteRegStr SHCTX "Software\Classes\${PROGID}\DefaultIcon" "" "$INSTDIR\${WINDOW},0"
  WriteRegStr SHCTX "Software\Classes\${PROGID}\shell\open\command" "" '"$INSTDIR\${WINDOW}" "%1"'
  WriteRegStr SHCTX "Software\Classes\Applications\${WINDOW}\shell\open\command" "" '"$INSTDIR\${WINDOW}" "%1"'
  !macro Offer extension
    WriteRegNone SHCTX "Software\Classes\.${extension}\OpenWithProgids" "${PROGID}"
    WriteRegStr SHCTX "Software\Classes\Applications\${WINDOW}\SupportedTypes" ".${extension}" ""
  !macroend
  !insertmacro Offer evtx
  !insertmacro Offer csv
  !insertmacro Offer tsv
  !insertmacro Offer json
  !insertmacro Offer jsonl
  !insertmacro Offer ndjson
  !insertmacro Offer log
  ${RefreshShellIcons}
SectionEnd

Section /o "A shortcut on the desktop" SecDesktop
  CreateShortcut "$DESKTOP\${NAME}.lnk" "$INSTDIR\${WINDOW}"
SectionEnd

Function un.onInit
  SetRegView 64
  ReadRegStr $0 HKLM "${UNINSTALL}" InstallLocation
  SetShellVarContext current
  ${If} $0 == $INSTDIR
    SetShellVarContext all
    UserInfo::GetAccountType
    Pop $0
    ${If} $0 != "Admin"
      ; Windows' settings start it without an administrator's rights.
      ${IfNot} ${Silent}
        ExecShell "runas" "$INSTDIR\uninstall.exe"
        Quit
      ${EndIf}
      Push "${NAME} is installed for all users, and removed only by an administrator. Start it from an elevated prompt."
      Call un.Refuse
    ${EndIf}
  ${EndIf}
  StrCpy $Purge 0
  ${GetParameters} $0
  ClearErrors
  ${GetOptions} $0 "/PURGE" $1
  ${IfNot} ${Errors}
    StrCpy $Purge 1
  ${EndIf}
FunctionEnd

Section Uninstall
  Call un.IsOurs
  ${If} $0 = 0
    Push "$INSTDIR does not hold ${NAME}; nothing was removed."
    Call un.Refuse
  ${EndIf}
  Call un.CheckClosed
  RMDir /r "$INSTDIR\_internal"
  Delete "$INSTDIR\casparian.exe"
  Delete "$INSTDIR\${WINDOW}"
  Delete "$INSTDIR\LICENSE.txt"
  Delete "$INSTDIR\uninstall.exe"
  RMDir "$INSTDIR"  ; only if nothing else is there
  Delete "$SMPROGRAMS\${NAME}\${NAME}.lnk"
  Delete "$SMPROGRAMS\${NAME}\Uninstall ${NAME}.lnk"
  RMDir "$SMPROGRAMS\${NAME}"
  Delete "$DESKTOP\${NAME}.lnk"
  !macro Withdraw extension
    DeleteRegValue SHCTX "Software\Classes\.${extension}\OpenWithProgids" "${PROGID}"
    DeleteRegKey /ifempty SHCTX "Software\Classes\.${extension}\OpenWithProgids"
    DeleteRegKey /ifempty SHCTX "Software\Classes\.${extension}"
  !macroend
  !insertmacro Withdraw evtx
  !insertmacro Withdraw csv
  !insertmacro Withdraw tsv
  !insertmacro Withdraw json
  !insertmacro Withdraw jsonl
  !insertmacro Withdraw ndjson
  !insertmacro Withdraw log
  DeleteRegKey SHCTX "Software\Classes\${PROGID}"
  DeleteRegKey SHCTX "Software\Classes\Applications\${WINDOW}"
  DeleteRegKey SHCTX "${UNINSTALL}"
  ${RefreshShellIcons}
  ${If} $Purge = 0
  ${AndIf} ${FileExists} "${DATA}\*"
    MessageBox MB_ICONQUESTION|MB_YESNO|MB_DEFBUTTON2 "Your cases, tables and settings are in ${DATA}. They stay, unless you want them deleted.$\r$\n$\r$\nDelete them now?" /SD IDNO IDNO kept
    StrCpy $Purge 1
    kept:
  ${EndIf}
  ${If} $Purge = 1
    RMDir /r "${DATA}"
  ${EndIf}
SectionEnd

LangString TextProgram ${LANG_ENGLISH} "The program."
LangString TextOpen ${LANG_ENGLISH} "Event logs, CSV and JSON files can be opened with it; what opens them now stays as it is."
LangString TextDesktop ${LANG_ENGLISH} "A shortcut on the desktop."
!insertmacro MUI_FUNCTION_DESCRIPTION_BEGIN
  !insertmacro MUI_DESCRIPTION_TEXT ${SecProgram} $(TextProgram)
  !insertmacro MUI_DESCRIPTION_TEXT ${SecOpen} $(TextOpen)
  !insertmacro MUI_DESCRIPTION_TEXT ${SecDesktop} $(TextDesktop)
!insertmacro MUI_FUNCTION_DESCRIPTION_END
