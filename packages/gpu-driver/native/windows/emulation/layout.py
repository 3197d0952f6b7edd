"""Where things lie in Windows' structures on x86-64.

The driver is compiled with ntifs.h, and passes no check where one of these is another there.
"""

IRP_BYTES = 0xD0
IRP_BUFFER = 0x18  # AssociatedIrp.SystemBuffer
IRP_STATUS = 0x30  # IoStatus.Status
IRP_INFORMATION = 0x38  # IoStatus.Information
IRP_CANCEL = 0x44
IRP_CANCEL_ROUTINE = 0x68
IRP_PLACE = 0xB8  # Tail.Overlay.CurrentStackLocation

PLACE_BYTES = 0x48  # IO_STACK_LOCATION
PLACE_CONTROL = 0x03
PLACE_OUT = 0x08  # Parameters.DeviceIoControl.OutputBufferLength
PLACE_IN = 0x10  # Parameters.DeviceIoControl.InputBufferLength
PLACE_CODE = 0x18  # Parameters.DeviceIoControl.IoControlCode
PLACE_FILE = 0x30  # FileObject

FILE_BYTES = 0xD8
FILE_CONTEXT = 0x18  # FsContext

DRIVER_BYTES = 0x150
DRIVER_DEVICE = 0x08  # DeviceObject
DRIVER_UNLOAD = 0x68  # DriverUnload
DRIVER_MAJOR = 0x70  # MajorFunction

DEVICE_BYTES = 0x148
TRAITS_NAME = 0x10  # OBJECT_ATTRIBUTES.ObjectName

IDENTITIES = 0x200  # room for SE_EXPORTS
IDENTITY_OF_SYSTEM = 0x108  # SE_EXPORTS.SeLocalSystemSid
IDENTITY_OF_ADMINISTRATORS = 0x110  # SE_EXPORTS.SeAliasAdminsSid
