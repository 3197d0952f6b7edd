/*
 * Objects of COM whose methods are given at run time: what the fake components of Windows AI are
 * made of. Loaded by the Windows Runtime as the library of a class, and by Python, which fills
 * the slots.
 *
 * QueryInterface, AddRef and Release are here and not in Python: they are also called while an
 * exception of Python is on its way, where no Python may run.
 *
 *     x86_64-w64-mingw32-gcc -shared -O2 -o component.dll component.c
 */
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#define SLOTS 48
#define EXPORT __declspec(dllexport)

typedef const wchar_t *(WINAPI *text_of)(void *string, UINT32 *length);
typedef HRESULT (WINAPI *make_text)(const wchar_t *text, UINT32 length, void **string);
typedef HRESULT (WINAPI *find_factory)(const wchar_t *name, void **factory);

struct object;
struct face {
	void **methods;
	struct object *object;
	void *slots[SLOTS];
	GUID id;
};
struct object {
	LONG references;
	int count;
	wchar_t name[200];
	struct face faces[];
};

static const GUID unknown = {0, 0, 0, {0xc0, 0, 0, 0, 0, 0, 0, 0x46}};
static const GUID inspectable = {
	0xaf86e2e0, 0xb12d, 0x4c6a, {0x9c, 0x5a, 0xd7, 0xaa, 0x65, 0x10, 0x1e, 0x90}};
static const GUID agile = {
	0x94ea2b94, 0xe9cc, 0x49e0, {0xc0, 0xff, 0xee, 0x64, 0xca, 0x8f, 0x5b, 0x90}};
static find_factory factories;

static BOOL same(const GUID *one, const GUID *other)
{
	return !memcmp(one, other, sizeof(GUID));
}

static HRESULT WINAPI query(struct face *face, const GUID *id, void **out)
{
	struct object *object = face->object;
	BOOL any = same(id, &unknown) || same(id, &inspectable) || same(id, &agile);

	for (int at = 0; at < object->count; at++)
		if ((any && at == 0) || same(id, &object->faces[at].id)) {
			InterlockedIncrement(&object->references);
			*out = &object->faces[at];
			return S_OK;
		}
	*out = NULL;
	return E_NOINTERFACE;
}

static ULONG WINAPI add(struct face *face)
{
	return InterlockedIncrement(&face->object->references);
}

/* Python frees an object when it is done with it: nothing may be freed while it can be asked. */
static ULONG WINAPI release(struct face *face)
{
	return InterlockedDecrement(&face->object->references);
}

static HRESULT WINAPI interfaces(struct face *face, ULONG *count, void **ids)
{
	(void)face;
	*count = 0;
	*ids = NULL;
	return S_OK;
}

static void *combase(const char *name)
{
	return (void *)GetProcAddress(LoadLibraryA("combase.dll"), name);
}

static HRESULT WINAPI class_name(struct face *face, void **string)
{
	make_text make = (make_text)combase("WindowsCreateString");

	return make(face->object->name, (UINT32)wcslen(face->object->name), string);
}

static HRESULT WINAPI trust(struct face *face, int *level)
{
	(void)face;
	*level = 0;
	return S_OK;
}

static HRESULT WINAPI not_implemented(void)
{
	return E_NOTIMPL;
}

EXPORT void *component_new(const wchar_t *name, int count, const GUID *ids)
{
	void *first[] = {query, add, release, interfaces, class_name, trust};
	struct object *object = calloc(1, sizeof(*object) + count * sizeof(struct face));

	if (!object)
		return NULL;
	object->references = 1;
	object->count = count;
	wcsncpy(object->name, name, sizeof(object->name) / sizeof(*object->name) - 1);
	for (int at = 0; at < count; at++) {
		struct face *face = &object->faces[at];

		face->methods = face->slots;
		face->object = object;
		face->id = ids[at];
		memcpy(face->slots, first, sizeof(first));
		for (int slot = sizeof(first) / sizeof(*first); slot < SLOTS; slot++)
			face->slots[slot] = not_implemented;
	}
	return object;
}

EXPORT void component_free(struct object *object)
{
	free(object);
}

EXPORT void *component_face(struct object *object, int at)
{
	return &object->faces[at];
}

/* False if the slot is none that a method of a class can be in. */
EXPORT BOOL component_slot(struct object *object, int at, int slot, void *method)
{
	if (slot < 6 || slot >= SLOTS)
		return FALSE;
	object->faces[at].slots[slot] = method;
	return TRUE;
}

/* Interfaces of plain COM have no `IInspectable` in front: their methods begin in slot 3. */
EXPORT void component_plain(struct object *object, int at, int slot, void *method)
{
	object->faces[at].slots[slot] = method;
}

EXPORT LONG component_references(struct object *object)
{
	return object->references;
}

EXPORT void component_factories(find_factory find)
{
	factories = find;
}

EXPORT HRESULT WINAPI DllGetActivationFactory(void *name, void **factory)
{
	text_of text = (text_of)combase("WindowsGetStringRawBuffer");

	*factory = NULL;
	return factories ? factories(text(name, NULL), factory) : CLASS_E_CLASSNOTAVAILABLE;
}

EXPORT HRESULT WINAPI DllCanUnloadNow(void)
{
	return S_FALSE;
}
